"""The one source of this package's metadata."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "([^"]+)"$',
    (HERE / "captum_sing" / "__init__.py").read_text(encoding="utf-8"),
    re.MULTILINE,
)

# Everything that the main job and its pictures need, so that there is no second step.
# The floors are the versions whose interface this package relies on.
REQUIREMENTS = [
    "captum>=0.8",
    "diffusers>=0.35.2",
    "huggingface_hub>=0.30",
    "matplotlib>=3.8",
    "numpy>=1.26",
    "open_clip_torch>=3.0",  # the "local-dir:" schema
    "pandas>=2.1",
    "pillow>=10.0",
    "pyarrow>=14.0",  # pandas writes Parquet through it
    "pyyaml>=6.0",
    "rich>=13.0",
    "safetensors>=0.4.3",
    "scikit-learn>=1.4",
    "scipy>=1.11",
    "timm>=1.0.17",
    "tokenizers>=0.20",
    "torch>=2.6",  # where weights_only=True keeps its promise
    "torchvision>=0.21",
    "tqdm>=4.66",
    "transformers>=4.50",
    "typer>=0.15",
]
QUANTUS = ["quantus>=0.6", "tabulate>=0.9"]  # what evaluates maps, and prints tables of it
TEST = [
    *QUANTUS,
    "pytest>=8.2",
    "pytest-timeout>=2.3",
    "setuptools>=77",  # a test builds the wheel
]
DOCS = ["furo>=2024.8", "ipykernel>=6.29", "ipywidgets>=8.1", "myst-nb>=1.2", "sphinx>=8.0"]
LINT = ["mypy>=1.15", "pre-commit>=4.0", "ruff>=0.11"]

setup(
    name="captum-sing",
    version=VERSION.group(1),
    description="What does a classifier's linear head ignore? SING as a Captum attribution.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The captum-sing authors",
    license_expression="BSD-3-Clause",
    license_files=["LICENSE"],
    keywords=[
        "attribution",
        "captum",
        "clip",
        "explainability",
        "interpretability",
        "null space",
        "vision-language",
    ],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=find_packages(include=["captum_sing", "captum_sing.*"]),
    package_data={"captum_sing": ["py.typed", "demo/weights/**"]},
    include_package_data=False,
    install_requires=REQUIREMENTS,
    extras_require={
        "quantus": QUANTUS,
        "test": TEST,
        "docs": DOCS,
        "dev": sorted({*TEST, *DOCS, *LINT}),
    },
    entry_points={"console_scripts": ["captum-sing = captum_sing.cli:main"]},
    zip_safe=False,
)
