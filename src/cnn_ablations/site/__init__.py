"""The results as pages: a folder to open, to send and to publish, from what git holds."""
