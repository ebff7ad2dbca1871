import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fits.laws.compute import PowerLaw
from fits.laws.sizes import ChinchillaLaw
from fits.observations import Points

positive = st.floats(0.01, 2.0)


@given(a=positive, b=positive, c=st.floats(0, 3))
def test_a_power_law_falls_to_its_floor(a, b, c):
    loss = PowerLaw(a, b, c).predict(Points(flops=np.array([1.0, 10.0, 100.0])))
    assert (np.diff(loss) < 0).all() and (loss > c).all()


@given(alpha=positive, beta=positive)
def test_a_chinchilla_law_falls_in_both_sizes(alpha, beta):
    law = ChinchillaLaw(irreducible=1.0, a=2.0, b=3.0, alpha=alpha, beta=beta)
    size = np.array([1.0, 5.0, 25.0])
    one = np.ones(3)
    assert (np.diff(law.predict(Points(flops=size, n=size, tokens=one))) < 0).all()
    assert (np.diff(law.predict(Points(flops=size, n=one, tokens=size))) < 0).all()
    with pytest.raises(ValueError, match="n_active and tokens"):
        law.predict(Points(flops=size))


def test_laws_refuse_negative_constants():
    with pytest.raises(ValueError, match="irreducible"):
        PowerLaw(1.0, 0.1, -0.5)
    with pytest.raises(ValueError, match="b is"):
        PowerLaw(1.0, 0.0)
    with pytest.raises(ValueError, match="beta"):
        ChinchillaLaw(irreducible=1.0, a=1.0, b=1.0, alpha=0.1, beta=-0.1)
