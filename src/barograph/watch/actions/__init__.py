"""What is done when somebody is to be told of an alert: a line in the run's files, a command, a request, a message.

Nothing here runs in the training thread, and nothing that fails here is raised into training.
"""
