"""A stand-in for the server: `dokku`, `docker`, `sudo` and `ssh`, as far as the pages of documentation type them.

It checks the shape of what is typed, against what was typed before: apps, services, links and networks have to be
there, and a command that it does not know is an error. It builds no image and starts no container: a push lays the tree
out in a folder, runs the scripts of its app.json with the app's configuration as Dokku would (a predeploy that fails
refuses the push), and starts the CMD of a Dockerfile as a process. `tenants` is the real one, and so is git.

Run as `python dokku.py PROGRAM ARGUMENTS…`, with the folder of the world in WALK.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any, NoReturn

WORLD = Path(os.environ["WALK"])
STATE = WORLD / "server.json"


def refuse(why: str) -> NoReturn:
    print(f" !     {why}", file=sys.stderr)
    raise SystemExit(1)


def shaped(arguments: list[str], shape: str) -> list[str]:
    """The arguments, if there are as many as the shape has words, and those in lower case are the same."""
    words = shape.split()
    if len(words) != len(arguments) or any(w.islower() and w != a for w, a in zip(words, arguments, strict=True)):
        refuse(f"{shlex.join(arguments)} is not of the shape: {shape}")
    return arguments


class Server:
    """What is there: read when a command begins, written when it ends."""

    def __init__(self) -> None:
        empty: dict[str, Any] = {"apps": {}, "services": {}, "networks": [], "plugins": []}
        self.state = json.loads(STATE.read_text()) if STATE.exists() else empty
        self.apps: dict[str, dict[str, Any]] = self.state["apps"]
        self.services: dict[str, dict[str, Any]] = self.state["services"]

    def save(self) -> None:
        STATE.write_text(json.dumps(self.state))

    def app(self, name: str) -> dict[str, Any]:
        return self.apps.get(name) or refuse(f"App {name} does not exist")

    def service(self, name: str) -> dict[str, Any]:
        return self.services.get(name) or refuse(f"Service {name} does not exist")

    def network(self, name: str) -> str:
        return name if name in self.state["networks"] else refuse(f"network {name} does not exist")

    # dokku …

    def dokku(self, arguments: list[str]) -> None:
        command, *rest = arguments
        method = getattr(self, "do_" + command.replace(":", "_").replace("-", "_"), None)
        if method is None:
            refuse(f"`{command}` is not a dokku command that the stand-in knows")
        method(rest)

    def do_plugin_install(self, arguments: list[str]) -> None:
        (url,) = shaped(arguments, "URL")
        if not re.fullmatch(r"https://github\.com/[\w-]+/[\w-]+(\.git)?", url):
            refuse(f"{url} is no repository")
        self.state["plugins"].append(Path(url).stem)

    def do_apps_create(self, arguments: list[str]) -> None:
        (name,) = shaped(arguments, "APP")
        if name in self.apps:
            refuse(f"App {name} already exists")
        self.apps[name] = {"config": {}, "network": None, "link": None, "pid": None, "port": None}
        repository = WORLD / "repositories" / f"{name}.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(repository)], check=True)
        hook = repository / "hooks" / "pre-receive"
        hook.write_text(f'#!/bin/sh\nread old new ref\nexec "{WORLD}/bin/dokku" receive {name} $new\n')
        hook.chmod(0o755)

    def do_postgres_create(self, arguments: list[str]) -> None:
        (name,) = shaped(arguments, "SERVICE")
        if "dokku-postgres" not in self.state["plugins"]:
            refuse("`postgres:create` is not a dokku command: the plugin is missing")
        self.services[name] = {"networks": [], "ever": []}

    def do_postgres_set(self, arguments: list[str]) -> None:
        service, _, network = shaped(arguments, "SERVICE post-create-network NETWORK")
        self.service(service)["ever"] = [self.network(network)]

    def do_postgres_link(self, arguments: list[str]) -> None:
        service, name = shaped(arguments, "SERVICE APP")
        self.service(service)
        if "DATABASE_URL" in self.app(name)["config"]:
            refuse("DATABASE_URL is set already")
        self.app(name)["link"] = service
        self.app(name)["config"]["DATABASE_URL"] = os.environ["WALK_ADMIN"]

    def do_postgres_unlink(self, arguments: list[str]) -> None:
        service, name = shaped(arguments, "SERVICE APP")
        self.service(service)
        app = self.app(name)
        if app["link"] != service:
            refuse(f"Not linked to app {name}")
        if app["config"].get("DATABASE_URL") != os.environ["WALK_ADMIN"]:
            refuse("its DATABASE_URL was changed before it was unlinked")
        app["link"] = None
        del app["config"]["DATABASE_URL"]
        self.restart(name)

    def do_network_create(self, arguments: list[str]) -> None:
        self.state["networks"] += shaped(arguments, "NETWORK")

    def do_network_set(self, arguments: list[str]) -> None:
        name, _, network = shaped(arguments, "APP attach-post-create NETWORK")
        self.app(name)["network"] = self.network(network)

    def do_config_set(self, arguments: list[str]) -> None:
        restart = "--no-restart" not in arguments
        name, *pairs = [argument for argument in arguments if argument != "--no-restart"]
        if not pairs or any(not re.match(r"[A-Z][A-Z0-9_]*=", pair) for pair in pairs):
            refuse("config:set APP KEY=VALUE …")
        self.app(name)["config"].update(pair.split("=", 1) for pair in pairs)
        if restart:
            self.restart(name)

    def do_config_unset(self, arguments: list[str]) -> None:
        name, key = shaped(arguments, "APP KEY")
        self.app(name)["config"].pop(key, None)
        self.restart(name)

    def do_letsencrypt_set(self, arguments: list[str]) -> None:
        self.app(shaped(arguments, "APP email ADDRESS")[0])["email"] = arguments[2]

    def do_letsencrypt_enable(self, arguments: list[str]) -> None:
        (name,) = shaped(arguments, "APP")
        if "dokku-letsencrypt" not in self.state["plugins"] or "email" not in self.app(name):
            refuse("the plugin letsencrypt, or its email, is missing")

    def do_enter(self, arguments: list[str]) -> None:
        name, process, *command = arguments
        procfile = WORLD / "apps" / name / "Procfile"
        if not procfile.exists() or not re.search(rf"^{process}: ", procfile.read_text(), re.MULTILINE):
            refuse(f"{name} has no container {process}")
        raise SystemExit(self.run(name, *command))

    # what a push sets off

    def do_receive(self, arguments: list[str]) -> None:
        name, commit = shaped(arguments, "APP COMMIT")
        self.app(name)
        new = WORLD / "apps" / f"{name}.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        with subprocess.Popen(["git", "archive", commit], stdout=subprocess.PIPE) as archive:
            with tarfile.open(fileobj=archive.stdout, mode="r|") as tar:
                tar.extractall(new, filter="fully_trusted")
        description = new / "app.json"
        scripts = json.loads(description.read_text())["scripts"]["dokku"] if description.exists() else {}
        if "predeploy" in scripts and self.run(f"{name}.new", *shlex.split(scripts["predeploy"]), GIT_REV=commit):
            shutil.rmtree(new)
            refuse("execution of predeploy script failed")
        shutil.rmtree(WORLD / "apps" / name, ignore_errors=True)
        new.rename(WORLD / "apps" / name)
        self.app(name)["config"]["GIT_REV"] = commit
        self.restart(name)
        if "postdeploy" in scripts:
            self.run(name, *shlex.split(scripts["postdeploy"]))
        print(f"=====> Application deployed: {name}", flush=True)

    def run(self, folder: str, *command: str, **more: str) -> int:
        environment = {"PATH": os.environ["WALK_PATH"], "LC_ALL": "C.UTF-8"}
        environment |= {name: value for name, value in os.environ.items() if name.startswith("WALK")}
        environment |= self.app(folder.removesuffix(".new"))["config"]
        return subprocess.run(command, cwd=WORLD / "apps" / folder, env=environment | more, check=False).returncode

    def restart(self, name: str) -> None:
        """Stop the old release and start the new one, if it is one that serves: then it has to reach the database."""
        app, folder = self.app(name), WORLD / "apps" / name
        if app["pid"]:
            os.kill(app["pid"], signal.SIGTERM)
            app["pid"] = None
        dockerfile = folder / "Dockerfile"
        if not dockerfile.exists() or (folder / "Procfile").exists():
            return
        reachable = {network for service in self.services.values() for network in service["networks"]}
        if app["link"] is None and app["network"] not in reachable:
            refuse(f"{name} cannot reach the database: it shares no network with it")
        if "DATABASE_URL" not in app["config"]:
            refuse(f"{name} has no DATABASE_URL")
        text = dockerfile.read_text()
        for line in re.findall(r"^RUN (.*)$", text, re.MULTILINE):
            if self.run(name, *shlex.split(line)):
                refuse(f"{line} failed")
        command = json.loads(re.findall(r"^CMD (.*)$", text, re.MULTILINE)[0])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            app["port"] = probe.getsockname()[1]
        (WORLD / f"{name}.url").write_text(f"http://127.0.0.1:{app['port']}")
        environment = {"PATH": os.environ["WALK_PATH"], **app["config"], "PORT": str(app["port"])}
        with (WORLD / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, stdin=log)
        app["pid"] = process.pid
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", app["port"])) == 0:
                    return
            if process.poll() is not None:
                break
            time.sleep(0.05)
        refuse(f"{name} does not serve: {(WORLD / f'{name}.log').read_text()}")

    # docker …, ssh …

    def docker(self, arguments: list[str]) -> None:
        if arguments[0] == "cp":
            _, file, where = shaped(arguments, "cp FILE WHERE")
            container, _, folder = where.partition(":/app/")
            name = container.removesuffix(".agent.1")
            self.app(name)
            shutil.copy(file, WORLD / "apps" / name / folder)
            return
        alias, network, container = shaped(arguments, "network connect --alias ALIAS NETWORK CONTAINER")[3:]
        name = container.removeprefix("dokku.postgres.")
        if alias != f"dokku-postgres-{name}":
            refuse(f"a URL of {name} names another host than {alias}")
        self.service(name)["networks"].append(self.network(network))

    def ssh(self, arguments: list[str]) -> None:
        """What git calls: the user and host, and a command with the name of the app."""
        who, command = arguments[-2:]
        name = shlex.split(command)[-1].strip("/")
        if not who.startswith("dokku@"):
            refuse(f"{who} is not dokku")
        self.app(name)
        program = shlex.split(command)[0]
        raise SystemExit(subprocess.run([program, str(WORLD / "repositories" / f"{name}.git")], check=False).returncode)


def main() -> None:
    program, *arguments = sys.argv[1:]
    server = Server()
    if program == "sudo":
        os.execvp(arguments[0], arguments)
    {"dokku": server.dokku, "docker": server.docker, "ssh": server.ssh}[program](arguments)
    server.save()


if __name__ == "__main__":
    main()
