"""A group of two tokens of one module, each in a process of its own: one of them hangs, and the other one goes on."""

from __future__ import annotations

from tests.tokens import scenes
from tests.tokens.group.conftest import Copies
from tests.tokens.group.test_pins import pair
from tests.tokens.proxy import Proxy

__all__ = ["pair"]


def test_a_token_that_hangs_in_its_own_process_is_left_and_used_again(proxy: Proxy, pair: Copies) -> None:
    uris = [proxy.serving(token.uri("node")) for token in pair.tokens]
    code = f"""
    import time
    from tokens.group import open_key_group
    rules = {str(proxy.folder / "rules")!r}
    def rule(text):
        with open(rules + ".new", "w") as file:
            file.write(text)
        os.rename(rules + ".new", rules)
    def states():
        return [member.state.value == "closed" for member in key.device.members]
    clock = [100.0]
    deadlines = tokens.CallDeadlines(sign=0.5)
    options = dict(deadlines=deadlines, isolation="process", clock=lambda: clock[0], background=False)
    if __name__ == "__main__":
        with open_key_group(uris, **options) as key:
            sign(key)
            rule("C_Sign token={pair.tokens[0].label} hang=1\\n")
            sign(key)
            print(states(), key.device.members[0].fault.kind.__name__)
            clock[0] += 5
            key.device._pool.probe_due()
            print(states())
            rule("")
            for _ in range(100):  # a module that was killed twice is started again after a pause
                clock[0] += 5
                key.device._pool.probe_due()
                if all(states()):
                    break
                time.sleep(0.1)
            print(states())
            sign(key)
    """
    assert scenes.play(code, *uris, environment=proxy.environment()) == [
        "[False, True] TokenTimeoutError",
        "[False, True]",
        "[True, True]",
    ]
