"""An emulator of one thing of Cloud Scheduler: publishing to a topic periodically, on the virtual clock.

Runs missed while the scheduler was down are not made up.
Not covered: cron expressions, HTTP and App Engine targets, the API.
"""
