"""The HTTP/1.1 protocol of the server: uvicorn's, with bounds on size, time and number of connections."""
