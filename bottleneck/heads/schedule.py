"""Learning-rate schedule of neural heads and of fine-tuning."""

import math

# The warm-up starts at this share of the learning rate: at 0 the first batch would teach nothing.
_FIRST = 0.1


def rate_share(step: int, steps: int, warm_up: float, *, cosine: bool = True) -> float:
    """Return the share of the learning rate at a step: a linear warm-up, then half a cosine.

    Parameters
    ----------
    step : int
        Counted from 0.
    steps : int
        Number of steps in all.
    warm_up : float
        Share of the steps in which the learning rate rises.
    cosine : bool
        Whether the learning rate falls to 0 after the warm-up, or stays constant.

    Returns
    -------
    float
        From 0 to 1.

    Notes
    -----
    Warm-up: Goyal et al. 2017. Cosine decay: Loshchilov and Hutter 2017, SGDR.

    Examples
    --------
    >>> [round(rate_share(step, 10, 0.2), 3) for step in (0, 1, 2, 6, 9)]
    [0.1, 0.55, 1.0, 0.5, 0.038]
    >>> rate_share(9, 10, 0, cosine=False)
    1.0
    """
    rising = int(warm_up * steps)
    if step < rising:
        return _FIRST + (1 - _FIRST) * step / rising
    if not cosine:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))
