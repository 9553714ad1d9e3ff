"""画卷 huajuan: text-to-image on an append-only event log."""
