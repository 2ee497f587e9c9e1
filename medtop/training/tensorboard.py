"""Scalars as TensorBoard reads them, without TensorBoard being installed where the training runs."""

import tensorflow as tf

_SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class=1
)  # 1 = DATA_CLASS_SCALAR


def write_scalars(values, step):
    """Writes named numbers to the default summary writer; None is left out.

    Args:
        values: dict name -> float or None.
        step: the training step.
    """
    for name, value in values.items():
        if value is not None:
            tf.summary.write(name, tf.constant(value, tf.float32), step=step, metadata=_SCALAR)
