"""README.md to the letter: every command of its blocks, in their order, in one folder."""

import re
import shlex
from pathlib import Path

from hub.served import ServeCommand
from hub_command import invoke
from test_sim_by_hand import Sim

README = Path(__file__).parent.parent / "README.md"


def commands():
    """Yield (words, environment, file for the output) of every `kalitka` command of the blocks."""
    line_of_command = r"^    ((?:\w+=(?:\$\(.+?\)|\S+) )*kalitka .+)$"
    for line in re.findall(line_of_command, README.read_text(), re.MULTILINE):
        # The shell, too, reads the file only when it comes to the line.
        read = re.sub(r"\$\(cat (\S+)\)", lambda found: Path(found[1]).read_text().strip(), line)
        words = shlex.split(read, comments=True)
        environment = {}
        while "=" in words[0]:
            name, _, environment[name] = words.pop(0).partition("=")
        output = words.pop() if words[-2] == ">" else None
        if "─►" not in words:  # the drawing
            yield words[1 : -1 if output else None], environment, output


def test_the_commands_of_the_readme_work_in_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("KALITKA_HUB_DB", "KALITKA_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    hub = None
    done = {}
    readers = 0
    try:
        for words, environment, output in commands():
            if words[:2] == ["hub", "serve"]:
                if hub:
                    hub.stop()
                hub = ServeCommand(*words[2:])
                # With TLS as well.
                assert "zone Europe/Moscow (UTC+03:00)," in hub.line
            elif words[0] == "sim":
                options = [word.replace(":8080", f":{hub.port}") for word in words[1:]]
                with Sim(*options, **environment) as sim:
                    sim.expect("sync: full")
                    if not readers:
                        sim.type("card 04A1B2C3")
                        # On every day of the week, at every hour.
                        sim.expect("04A1B2C3: allowed; the lock opened")
                    assert sim.end() == 0
                readers += 1
            else:
                assert words[0] == "hub", words
                result = invoke(*words[1:], env=environment)
                # README explains a denial, which is an exit status too.
                status = 1 if words[1] == "explain" else 0
                assert result.exit_code == status, f"{' '.join(words)}: {result.output}"
                done[" ".join(words[1:3])] = result.output
                if output:
                    Path(output).write_text(result.stdout)
    finally:
        if hub:
            hub.stop()
    assert readers == 2
    assert "denied" in done["explain --reader"] and "2026-12-31" in done["explain --reader"]
    status = done["kormitel status"]
    assert re.search(r"exchange +│ running", status)
    assert re.search(r"kitchens without readers +│ +│", status)
