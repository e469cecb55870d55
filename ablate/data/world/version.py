"""The version of what the micro world draws and asks."""

WORLD_VERSION = 3  # raise it with any change that alters an image, a question or an answer
