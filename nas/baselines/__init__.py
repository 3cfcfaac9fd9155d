"""What a search on images has to beat: the commonest class, models of scikit-learn, and the test that says whether it does."""

from nas.baselines.classical import Baseline, fit_best, majority
from nas.baselines.mcnemar import Paired, paired

__all__ = ["Baseline", "Paired", "fit_best", "majority", "paired"]
