"""The laws that every component keeps, for a component of your own: by `nas check`, or in your tests.

```python
from nas.testing import laws_of
from my_sa import SimulatedAnnealing

test_laws = laws_of(SimulatedAnnealing)  # pytest runs one test for each law
```
"""

from nas.testing.laws import Law, Outcome, check, kind_of, laws, laws_of

__all__ = ["Law", "Outcome", "check", "kind_of", "laws", "laws_of"]
