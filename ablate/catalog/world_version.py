"""The version of what the micro world draws and asks, and how much it asks."""

WORLD_VERSION = 3  # raise it with any change that alters an image, a question or an answer
TEST_QUESTIONS = 4  # an image of the test
