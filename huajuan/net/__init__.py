"""Network addresses of clients and origins of web pages."""
