"""The commands of `./launch.sh plan`, a module for each."""
