"""Solutions to lesson 8."""

from minielectra.backend import RandomStream, keep_probability


def redraw_backward(dy, W, key, drop):
    stream, scale = RandomStream(key), 1 / keep_probability(drop)
    first = stream.keep_mask((dy.shape[0], W.shape[1]), drop)  # drawn in the order of the forward pass
    second = stream.keep_mask(dy.shape, drop)
    dz = dy * second * scale  # y = z · second · scale
    dh = dz @ W  # z = h Wᵀ
    return dh * first * scale  # h = x · first · scale


def output_variance(x, w, drop):
    return ((w * x) ** 2).sum() * drop / (1 - drop)
