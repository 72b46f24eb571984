"""The highest rate that each job sustains, by the search of `./launch.sh loadtest search`."""
