"""The load lab's commands: what `./launch.sh loadtest COMMAND` runs."""
