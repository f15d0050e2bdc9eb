"""Which keypoints count, and the two skeletons, whose names are the oracle of each mapping."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_cdt

from likeness.core.errors import DataError
from likeness.core.skeletons import AP10K, COCO, LIMBS, NAMES, skeleton_of
from likeness.data.relations.keypoints import ap10k_of_coco, at_edge, in_picture, num_limbs, on_mask, piled
from likeness.data.relations.making import bounds, shown_keypoints


def test_a_point_is_on_the_mask_within_a_square_of_two_percent() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((150, 100), bool)
    mask[40:90, 30:60] = True
    away: np.ndarray = np.asarray(distance_transform_cdt(~mask, metric="chessboard"))
    points = rng.uniform(-0.1, 1.1, (400, 2))
    expected = [
        0 <= x <= 1 and 0 <= y <= 1 and away[min(int(y * 150), 149), min(int(x * 100), 99)] <= 3 for x, y in points
    ]
    assert on_mask(points, mask).tolist() == expected
    assert 20 < sum(expected) < 200
    exact = [0 <= x < 1 and 0 <= y < 1 and bool(mask[int(y * 150), int(x * 100)]) for x, y in points]
    assert on_mask(points, mask, reach=0).tolist() == exact


def test_edges_belong_to_the_picture_and_are_still_no_joint() -> None:
    points = np.array([[0, 0], [1, 1], [0.998, 0.5], [0.5, 0.5], [1.01, 0.5]])
    assert in_picture(points).tolist() == [True, True, True, True, False]
    assert at_edge(points).tolist() == [True, True, True, False, True]


def test_three_points_at_one_place_are_a_pile_and_two_are_not() -> None:
    points = np.array([[0.2, 0.2], [0.205, 0.2], [0.2, 0.208], [0.7, 0.7], [0.702, 0.7]])
    assert piled(points).tolist() == [True, True, True, False, False]


def test_limbs_count_where_root_joint_and_end_are_seen_in_both_pictures() -> None:
    for skeleton, limbs in LIMBS.items():
        names = NAMES[skeleton]
        words = [[names[index].split("_", 1)[1] for index in limb] for limb in limbs]
        ends = [["shoulder", "elbow", "front_paw" if skeleton == "ap10k" else "wrist"]] * 2
        ends += [["hip", "knee", "back_paw" if skeleton == "ap10k" else "ankle"]] * 2
        assert words == ends
        assert [names[limb[0]].split("_")[0] for limb in limbs] == ["left", "right"] * 2
        seen, other = np.ones(17, bool), np.ones(17, bool)
        assert num_limbs(seen, other, skeleton=skeleton) == 4
        seen[limbs[0][1]], other[limbs[2][2]] = False, False
        assert num_limbs(seen, other, skeleton=skeleton) == 2


PLACES = {"neck": ("left_shoulder", "right_shoulder"), "root_of_tail": ("left_hip", "right_hip")}
PAWS = {"front_paw": "wrist", "back_paw": "ankle"}


def test_cocos_points_become_those_of_the_same_name() -> None:
    points = np.random.default_rng(0).random((17, 2))
    valid = np.ones(17, bool)
    valid[COCO.index("left_hip")] = False
    moved, kept = ap10k_of_coco(points, valid)
    for index, name in enumerate(AP10K):
        side, _, part = name.partition("_")
        origins = PLACES.get(name, (f"{side}_{PAWS.get(part, part)}" if part else name,))
        own = [COCO.index(origin) for origin in origins]
        np.testing.assert_allclose(moved[index], points[own].mean(axis=0))
        assert kept[index] == ("left_hip" not in origins)


def test_skeletons_are_known_by_the_names_of_published_models() -> None:
    vitpose = ("Nose", "L_Eye", "R_Eye", "L_Ear", "R_Ear", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow",
               "L_Wrist", "R_Wrist", "L_Hip", "R_Hip", "L_Knee", "R_Knee", "L_Ankle", "R_Ankle")  # fmt: skip
    assert skeleton_of(vitpose) == "coco"
    assert skeleton_of(AP10K) == skeleton_of(tuple(name.replace("_", " ").capitalize() for name in AP10K)) == "ap10k"
    assert skeleton_of(vitpose[:5]) is skeleton_of(vitpose[::-1]) is None


def test_a_keypoint_counts_only_where_score_picture_mask_and_the_others_agree() -> None:
    mask = np.zeros((50, 50), bool)
    mask[10:40, 10:40] = True
    points = np.stack([np.linspace(0.22, 0.78, 17), np.linspace(0.22, 0.78, 17)], axis=1)
    seen = np.ones(17, bool)
    points[0], points[1], seen[2] = (0.05, 0.05), (1.2, 0.5), False
    points[14:] = 0.5, 0.6
    valid = [False] * 3 + [True] * 11 + [False] * 3
    assert shown_keypoints(points, seen=seen, mask=mask, skeleton="ap10k").valid == tuple(valid)
    without = shown_keypoints(points, seen=seen, mask=None, skeleton="ap10k").valid
    assert without == (True, False, False, *valid[3:])


def test_bounds_hold_the_last_row_and_column() -> None:
    mask = np.zeros((10, 20), bool)
    mask[2:5, 4:10] = True
    assert bounds(mask) == (0.2, 0.2, 0.5, 0.5)
    with pytest.raises(DataError, match="got an empty one"):
        bounds(np.zeros((4, 4), bool))
