"""Network addresses of clients, URLs, and origins of web pages."""
