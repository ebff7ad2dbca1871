"""Parameters and FLOPs of a shape, exactly, without building a model.

Counting (one convention, used everywhere):

- `n_active`: decoder parameters that multiply activations for one token in a matrix product:
  attention, the experts a token visits, the router, the unembedding. Look-ups (embedding),
  element-wise parameters (norms, gains, convolution taps, output bias) and the image encoder stay
  out and are counted on their own by `parameter_groups`.
- FLOPs: matrix products of one training step, forward plus twice that backward, attention without
  the causal saving (PaLM, arXiv:2204.02311, appendix B). The gradient with respect to pixels is
  never computed and not counted. Equal to torch's FlopCounterMode on the reference path.
"""

from __future__ import annotations

from model.architecture.shape import Shape, VisionShape

TRAIN_FACTOR = 3  # one forward product costs two more backward: to the input and to the weight


def parameter_groups(shape: Shape) -> dict[str, int]:
    """Parameters by group; the values add up to every trained number in the model."""
    d, n_layers = shape.width, shape.layers
    inner, inner_kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return {
        "embedding": shape.vocab * d,
        "unembedding": shape.vocab * d,
        "output_bias": shape.vocab,
        "attention": n_layers * d * (2 * inner + 2 * inner_kv),
        "router": 0 if shape.dense else n_layers * d * shape.experts,
        "experts": n_layers * shape.experts * 3 * d * shape.expert_hidden,
        "shared": n_layers * 3 * d * shape.shared_hidden,
        "norms": n_layers * (2 * d + shape.heads) + d,  # with the attention gain of each head
        "conv": n_layers * 4 * d if shape.conv else 0,  # two taps on each of two branches
        "vision": n_vision(shape),
        "projector": 0 if shape.vision is None else shape.vision.width * d,
    }


def n_active(shape: Shape) -> int:
    """Decoder parameters in matrix products for one token, unembedding and router included."""
    groups = parameter_groups(shape)
    visited = groups["experts"] * shape.top_k // shape.experts
    return (
        groups["attention"] + groups["router"] + visited + groups["shared"] + groups["unembedding"]
    )


def n_total(shape: Shape) -> int:
    """As `n_active` with every expert."""
    groups = parameter_groups(shape)
    return sum(groups[name] for name in ("attention", "router", "experts", "shared", "unembedding"))


def n_embedding(shape: Shape) -> int:
    """Parameters of the token look-up table."""
    return parameter_groups(shape)["embedding"]


def n_vision(shape: Shape) -> int:
    """Parameters of the image encoder, without the projector; 0 where there is none."""
    vision = shape.vision
    if vision is None:
        return 0
    dv = vision.width
    block = 4 * dv * dv + 3 * dv * vision.hidden + 2 * dv
    return dv * (vision.patch_dim + vision.patches) + vision.layers * block + dv


def unembedding_share(shape: Shape) -> float:
    """Part of a text sequence's FLOPs that the unembedding takes, 0 to 1."""
    unembedding = TRAIN_FACTOR * 2 * shape.context * shape.width * shape.vocab
    return unembedding / flops_per_sequence(shape)


def flops_per_sequence(shape: Shape, images: int = 0) -> int:
    """Training FLOPs of one sequence of `context` tokens that holds `images` images."""
    inner = shape.heads * shape.head_dim
    weights = 2 * n_active(shape) * shape.context
    attention = shape.layers * 4 * shape.context**2 * inner  # scores, then the weighted values
    return TRAIN_FACTOR * (weights + attention) + images * flops_per_image(shape)


def flops_per_image(shape: Shape) -> int:
    """Training FLOPs of encoding and projecting one image, pixel gradients left out."""
    vision = shape.vision
    if vision is None:
        return 0
    embed = 2 * vision.patches * vision.patch_dim * vision.width
    return TRAIN_FACTOR * _forward_blocks(vision, shape.width) + 2 * embed


def _forward_blocks(vision: VisionShape, out: int) -> int:
    dv, patches = vision.width, vision.patches
    block = 2 * patches * (4 * dv * dv + 3 * dv * vision.hidden) + 4 * patches**2 * dv
    return vision.layers * block + 2 * patches * dv * out


def train_flops(shape: Shape, *, sequences: int, images: int = 0) -> int:
    """Training FLOPs of `sequences` full sequences that together hold `images` images.

    Raises ValueError for negative counts, or for images without an encoder.
    """
    if sequences < 0 or images < 0:
        raise ValueError(f"sequences = {sequences}, images = {images}: must be at least 0")
    if images and shape.vision is None:
        raise ValueError(f"images = {images}: must be 0 for a shape without vision")
    return sequences * flops_per_sequence(shape) + images * flops_per_image(shape)


def six_nd(shape: Shape, tokens: int) -> int:
    """The usual estimate 6 · n_active · tokens, kept beside the exact count."""
    return 6 * n_active(shape) * tokens
