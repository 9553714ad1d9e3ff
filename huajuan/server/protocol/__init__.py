"""The HTTP/1.1 protocol of the server: uvicorn's, with limits on sizes, times and connections."""
