"""What does this classifier ignore, and does it matter? SING as a Captum attribution."""
__version__ = "0.1.0"
