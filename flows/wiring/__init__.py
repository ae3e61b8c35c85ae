"""Settings to components: the only folder that turns what the user set into open models, lakes and collections."""
