from pathlib import Path

from fuseloom.testing.verify import verify_case

HERE = Path(__file__).parents[2] / "goldens" / "cen"


def test_running_statistics_are_idle_in_training_unless_they_are_compared() -> None:
    idle = {case.stem: verify_case(case).idle for case in HERE.glob("*.json")}
    assert idle["conv_bn_exchange_train"] == ()
    assert idle["exchange_mix"] == ()
    assert len(idle["bottleneck_down_train"]) == 2 * 2 * 4
