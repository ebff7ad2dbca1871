from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fits.laws.compute import BrokenPowerLaw, PowerLaw
from fits.laws.experts import ChinchillaTotalLaw, ClarkLaw, SparseLaw, SparseSizeLaw
from fits.laws.repeated import RepeatedDataLaw
from fits.laws.sizes import ChinchillaLaw, CoupledLaw, KaplanLaw, TiedLaw
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


def test_every_law_refuses_constants_out_of_its_domain():
    sized = {"irreducible": 1.0, "a": 1.0, "b": 1.0, "alpha": 0.1, "beta": 0.1}
    broken = {"irreducible": 1.0, "a": 1.0, "b": 0.1, "b_after": 0.2, "at": 1e9, "width": 1.0}
    clark = {"a": -0.1, "b": -0.1, "c": 0.01, "d": 1.0, "e_start": 2.0, "e_max": 100.0}
    sparse = sized | {"share": 0.5, "saturation": 0.01}
    kaplan = {"n_c": 1e13, "d_c": 1e13, "alpha": 0.1, "beta": 0.1}
    domains = [
        (BrokenPowerLaw, broken, {"irreducible": -1, "b": 0, "b_after": 0, "at": 0, "width": 0}),
        (TiedLaw, {k: sized[k] for k in ("irreducible", "a", "b", "alpha")}, {"alpha": 0, "a": -1}),
        (KaplanLaw, kaplan, {"n_c": 0, "d_c": -1, "alpha": 0, "beta": 0}),
        (CoupledLaw, sized | {"k": 1.0}, {"irreducible": -1, "k": 0, "a": 0}),
        (ChinchillaTotalLaw, sized, {"irreducible": -0.1, "beta": 0}),
        (ClarkLaw, clark, {"a": 0.1, "e_start": 200.0, "e_max": 1.0}),
        (SparseLaw, sparse, {"irreducible": -1, "share": 1.1, "saturation": 1.0, "alpha": 0}),
        (RepeatedDataLaw, sized | {"r_d": 15.0, "r_n": 5.0}, {"r_d": 0, "r_n": 0, "alpha": 0}),
    ]
    for kind, right, wrong in domains:
        assert kind(**right).constants() == right
        for name, value in wrong.items():
            with pytest.raises(ValueError, match=name):
                kind(**right | {name: float(value)})


SIZES = Points(
    flops=np.ones(3),
    n=np.array([1e8, 1e9, 1e10]),
    tokens=np.array([1e10, 3e10, 1e11]),
    n_total=np.array([1e8, 8e9, 4e11]),
    n_experts=np.array([1.0, 16.0, 128.0]),
    unique_tokens=np.array([1e10, 1e9, 1e8]),
)
CONSTANTS = {"irreducible": 1.8, "a": 480.0, "b": 2100.0, "alpha": 0.35, "beta": 0.37}


def test_laws_contain_each_other():
    plain = ChinchillaLaw(**CONSTANTS).predict(SIZES)
    assert CoupledLaw(**CONSTANTS, k=1.0).predict(SIZES) == pytest.approx(plain, rel=1e-12)
    active = SparseLaw(**CONSTANTS, share=0.0, saturation=0.3)
    assert active.predict(SIZES) == pytest.approx(plain, rel=1e-12)
    total = ChinchillaTotalLaw(**CONSTANTS).predict(SIZES)
    every = SparseLaw(**CONSTANTS, share=1.0, saturation=0.0)
    assert every.predict(SIZES) == pytest.approx(total, rel=1e-12)
    one_pass = replace(SIZES, unique_tokens=SIZES.tokens, n=np.array([1e7, 1e8, 1e8]))
    repeated = RepeatedDataLaw(**CONSTANTS, r_d=15.0, r_n=5.0)
    assert repeated.predict(one_pass) == pytest.approx(
        ChinchillaLaw(**CONSTANTS).predict(one_pass), rel=1e-12
    )
    straight = BrokenPowerLaw(irreducible=1.0, a=9.0, b=0.1, b_after=0.1, at=1e9, width=1.0)
    compute = Points(flops=np.geomspace(1e6, 1e12, 5))
    assert straight.predict(compute) == pytest.approx(PowerLaw(9.0, 0.1, 1.0).predict(compute))


def test_a_broken_law_has_one_slope_on_either_side():
    law = BrokenPowerLaw(irreducible=0.0, a=9.0, b=0.05, b_after=0.2, at=1e12, width=0.5)
    for ends, slope in (((1e2, 1e3), -0.05), ((1e21, 1e22), -0.2)):
        low, high = np.log(law.predict(Points(flops=np.array(ends))))
        assert (high - low) / np.log(10) == pytest.approx(slope, rel=1e-6)


def test_the_coupled_law_is_the_published_form():
    """E + A (n**-p + R tokens**-q)**k, with the constants as the docstring maps them."""
    law, k = CoupledLaw(**CONSTANTS, k=0.6), 0.6
    assert SIZES.n is not None and SIZES.tokens is not None
    ratio = (CONSTANTS["b"] / CONSTANTS["a"]) ** (1 / k)
    inner = SIZES.n ** (-0.35 / k) + ratio * SIZES.tokens ** (-0.37 / k)
    assert law.predict(SIZES) == pytest.approx(1.8 + 480 * inner**k, rel=1e-12)


def test_kaplan_falls_with_each_size_alone_at_its_own_exponent():
    law = KaplanLaw(n_c=8.8e13, d_c=5.4e13, alpha=0.076, beta=0.095)
    large = np.full(2, 1e30)
    short = np.array([1e9, 1e10])
    by_n = law.predict(Points(flops=short, n=short, tokens=large))
    by_d = law.predict(Points(flops=short, n=large, tokens=short))
    assert by_n == pytest.approx((8.8e13 / short) ** 0.076, rel=1e-6)
    assert by_d == pytest.approx((5.4e13 / short) ** 0.095, rel=1e-6)


def test_clarks_experts_saturate():
    law = ClarkLaw(a=-0.082, b=-0.108, c=0.009, d=1.104, e_start=1.8, e_max=300.0)
    counts = law.saturated(np.array([1.0, 8.0, 64.0, 1e9]))
    assert counts[0] == pytest.approx(1.8) and counts[-1] == pytest.approx(300.0, rel=1e-4)
    assert (np.diff(counts) > 0).all()


def test_the_published_law_of_repeated_data_deserves_a_parameter_per_20_tokens():
    """Muennighoff et al. 2023, eq. 17: U_n = .051 U_d; r_d repetitions leave 1 - 1/e of them."""
    law = RepeatedDataLaw(
        irreducible=float(np.exp(0.6254804)), a=float(np.exp(6.255414)),
        b=float(np.exp(7.3049974)), alpha=0.3526596, beta=0.3526596, r_d=15.387756, r_n=5.309743,
    )  # fmt: skip
    assert law.optimal_parameters(np.array([1e9])) / 1e9 == pytest.approx(0.051, abs=5e-4)
    unique = np.array([1e9])
    at = Points(
        flops=unique, n=np.array([5e7]), tokens=(1 + law.r_d) * unique, unique_tokens=unique
    )
    _, worth = law.effective(at)
    assert worth / unique - 1 == pytest.approx(law.r_d * (1 - np.exp(-1)))


def test_laws_say_which_column_they_miss():
    bare = Points(flops=np.ones(1), n=np.ones(1), tokens=np.ones(1))
    sparse = SparseLaw(**CONSTANTS, share=0.5, saturation=0.1)
    size = SparseSizeLaw(irreducible=1.0, a=1.0, alpha=0.1, share=0.5, saturation=0.1)
    for law, column in (
        (sparse, "n_total"), (size, "n_total"), (ChinchillaTotalLaw(**CONSTANTS), "n_total"),
        (ClarkLaw(a=-0.1, b=-0.1, c=0.0, d=1.0, e_start=1.0, e_max=9.0), "n_experts"),
        (RepeatedDataLaw(**CONSTANTS, r_d=15.0, r_n=5.0), "unique_tokens"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=column):
            law.predict(bare)
