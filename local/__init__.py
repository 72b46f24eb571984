"""What `./launch.sh local` runs: broker, endpoint container, job and load driver on one machine."""
