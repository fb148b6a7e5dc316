"""The most that one core does: products of square matrices, through TensorFlow.

`python -m benchmarks.peak --precision float32`. An "epoch" is one product (see `benchmarks.gate`).
"""

import argparse

from benchmarks.gate import Gate
from cnn_ablations.training import backend

SIZE = 2048
FLOPS = 2 * SIZE**3
"""Of a product: a multiplication and an addition for each of SIZE³ terms."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()

    backend.configure()
    import tensorflow as tf

    dtype = tf.bfloat16 if options.precision == "mixed_bfloat16" else tf.float32
    matrix = tf.cast(tf.random.stateless_normal((SIZE, SIZE), seed=(0, 0)), dtype)
    gate = Gate()
    while True:
        tf.linalg.matmul(matrix, matrix)
        gate()


if __name__ == "__main__":
    main()
