"""Clients of the API that are generated from the OpenAPI document."""
