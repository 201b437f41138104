"""The same model in other people's servers. Every module runs in the environment `bench`, except fastapi_server.

work              what all of them do with an image: the product's own decoder and engine
fastapi_server    no framework for models at all: the ceiling of the rows without an engine
litserve_server   bentoml_server   mlserver_model   mlflow_model
"""
