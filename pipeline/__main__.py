from pipeline.lifecycle import leave
from pipeline.main import main

if __name__ == "__main__":
    leave(main())
