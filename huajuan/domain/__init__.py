"""The business as a story: facts, the verbs that state them, and the changes they make."""
