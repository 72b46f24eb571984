"""The settings of the launch commands: flag, environment, launch.env."""
