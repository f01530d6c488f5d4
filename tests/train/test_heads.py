import keras
import numpy as np
import pytest

from expnet_tf.backbones import BACKBONES
from expnet_tf.network import ExpNet
from expnet_tf.train.config import JobError
from expnet_tf.train.heads import with_landmarks


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name != "resnet101"])
def test_maps_of_stride_8_and_16_are_found(backbone):
    model = with_landmarks(ExpNet(backbone, size=64))
    assert model.output["points"].shape == model.output["seen"].shape == (None, 136)
    assert model.get_layer("seen_stride16").input.shape[1:3] == (4, 4)
    assert model.get_layer("seen_stride8").input.shape[1:3] == (8, 8)
    assert model.get_layer("seen_maps").output.shape == (None, 8, 8, 68)


def test_seen_is_the_centre_of_mass_of_a_heat_map():
    model = with_landmarks(ExpNet("compact", size=64))
    heat = model.get_layer("seen_maps")
    heat.set_weights([np.zeros_like(weight) for weight in heat.get_weights()])
    images = np.zeros((1, 64, 64, 3), np.uint8)
    # An even map has its centre of mass in the middle; all of it in one row or column is not possible with a bias.
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(images)["seen"]), 0, atol=1e-6)
    maps = keras.Model(model.get_layer("seen_maps").output, model.output["seen"])
    peak = np.zeros((1, 8, 8, 68), np.float32)
    peak[0, 2, 5] = 50  # row 2, column 5 of 8
    found = keras.ops.convert_to_numpy(maps(peak)).reshape(68, 2)
    np.testing.assert_allclose(found, np.tile([(5.5 / 8) * 2 - 1, (2.5 / 8) * 2 - 1], (68, 1)), atol=1e-5)


def test_a_crop_that_the_strides_do_not_divide():
    with pytest.raises(JobError, match="multiple of 16 px, not 40"):
        with_landmarks(ExpNet("compact", size=40))
