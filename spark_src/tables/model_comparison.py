"""The comparison of two models on one question, as stored in the commits of `fruit_classifier`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Comparison(BaseModel):
    """The accuracies of two models on one question."""

    model_config = ConfigDict(frozen=True)

    question: str
    held_out: str
    images: int
    groups: int
    """Fruits, films or people, resampled as units: their images are not independent."""
    current: float
    """Accuracy of the current model."""
    candidate: float
    """Accuracy of the candidate."""
    low: float
    """Lower bound of the confidence interval of the difference, candidate minus current."""
    high: float
    """Upper bound."""

    @property
    def difference(self) -> float:
        """Accuracy of the candidate minus that of the current model."""
        return self.candidate - self.current

    @property
    def is_worse(self) -> bool:
        """Whether the candidate is significantly worse."""
        return self.high < 0

    @property
    def verdict(self) -> str:
        """The result in words."""
        if self.is_worse:
            return "worse"
        return "better" if self.low > 0 else "no significant difference"

    def cells(self) -> dict[str, str | int]:
        """The comparison as a row of a table."""
        return {
            "question": self.question,
            "held out together": self.held_out,
            "images": self.images,
            "groups": self.groups,
            "current": f"{self.current:.1%}",
            "candidate": f"{self.candidate:.1%}",
            "difference (95 % interval)": f"{self.low:+.1%} to {self.high:+.1%}",
            "candidate is": self.verdict,
        }
