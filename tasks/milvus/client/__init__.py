"""One client of Milvus: pymilvus made quiet, Milvus Lite in this process, a connection, and waiting for a server."""
