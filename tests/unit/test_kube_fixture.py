"""The parts of the cluster fixture that need no cluster: keys, command lines, configuration, bookkeeping."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.kube import cgroups, configs, remnants, toolchain
from tests.kube.__main__ import COMMANDS, main, parser
from tests.kube.access import available
from tests.kube.build import Programs, build_command, build_environment, cache_key, folder_of, unbuilt
from tests.kube.client import as_yaml, condition, wait_for
from tests.kube.commands import clock, run, run_shown
from tests.kube.components import ORDER, Site
from tests.kube.credentials import ADMIN, USERS, kubeconfig, token_file, write_private
from tests.kube.errors import CommandFailed, FixtureError, NotReady
from tests.kube.network import Addresses
from tests.kube.settings import Places, handed_over, places
from tests.kube.versions import APT_PACKAGES, ETCD, KUBERNETES, MODULES, Module

RUNC, KUBE = MODULES[0], MODULES[-1]


@pytest.fixture
def somewhere(tmp_path: Path) -> Places:
    return Places(cache=tmp_path / "cache", state=tmp_path / "state")


@pytest.fixture
def site(somewhere: Places) -> Site:
    """As if everything were built."""
    for module in MODULES:
        folder_of(somewhere, module).mkdir(parents=True)
        for name in module.programs:
            (folder_of(somewhere, module) / name).touch()
    return Site(somewhere, Programs(tuple(folder_of(somewhere, module) for module in MODULES)), Addresses())


# --- what is built, and when it is built again ---


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "go" / RUNC.name
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text("module a\n")
    (folder / "go.sum").write_text("b h1:c\n")
    return tmp_path / "go"


def test_a_cache_key_stays_while_nothing_changes(sources: Path) -> None:
    assert cache_key(RUNC, sources) == cache_key(RUNC, sources)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(dataclasses.replace(RUNC, ldflags="-s"), id="another flag"),
        pytest.param(dataclasses.replace(RUNC, tags=""), id="other tags"),
        pytest.param(dataclasses.replace(RUNC, cgo=False), id="without cgo"),
        pytest.param(dataclasses.replace(RUNC, packages=(*RUNC.packages, "x")), id="one more package"),
    ],
)
def test_another_way_of_building_is_another_key(sources: Path, changed: Module) -> None:
    assert cache_key(changed, sources) != cache_key(RUNC, sources)


@pytest.mark.parametrize("name", ["go.mod", "go.sum"])
def test_another_dependency_is_another_key(sources: Path, name: str) -> None:
    before = cache_key(RUNC, sources)
    (sources / RUNC.name / name).write_text("changed\n")
    assert cache_key(RUNC, sources) != before


def test_the_time_a_build_takes_does_not_change_its_key(sources: Path) -> None:
    assert cache_key(dataclasses.replace(RUNC, minutes=99), sources) == cache_key(RUNC, sources)


def test_the_locked_version_is_the_pinned_one() -> None:
    locked = (Path(toolchain.__file__).parent / "go" / "kubernetes" / "go.mod").read_text()
    assert f"k8s.io/kubernetes {KUBERNETES}" in locked
    assert f"v0.{KUBERNETES.split('.', 1)[1]}" in locked


def test_etcd_is_of_the_minor_version_that_kubernetes_speaks() -> None:
    folder = Path(toolchain.__file__).parent / "go"
    assert f"go.etcd.io/etcd/server/v3 {ETCD} " in (folder / "etcd" / "go.mod").read_text()
    assert f"go.etcd.io/etcd/client/v3 {ETCD.rpartition('.')[0]}." in (folder / "kubernetes" / "go.mod").read_text()


@pytest.mark.parametrize("module", [pytest.param(it, id=it.name) for it in MODULES])
def test_each_module_declares_the_programs_it_is_built_for(module: Module) -> None:
    locked = (Path(toolchain.__file__).parent / "go" / module.name / "go.mod").read_text()
    assert all(f"{package}\n" in locked for package in module.packages)


def test_programs_are_called_by_the_last_part_of_their_package() -> None:
    assert KUBE.programs[:2] == ("kube-apiserver", "kube-controller-manager")
    assert RUNC.programs == ("runc",)


def test_a_program_can_have_another_name_than_its_package() -> None:
    (etcd,) = [it for it in MODULES if it.name == "etcd"]
    assert etcd.programs == ("etcd",)
    assert build_command(Path("/go"), etcd, Path("/into"))[-3:] == ("-o", "/into/etcd", "go.etcd.io/etcd/server/v3")


def test_the_build_is_locked_and_repeatable() -> None:
    command = build_command(Path("/go"), RUNC, Path("/into"))
    assert {"-mod=readonly", "-trimpath", "-buildvcs=false"} <= set(command)
    assert command[command.index("-tags") + 1] == "seccomp"
    assert command[-3:] == ("-o", "/into/", "github.com/opencontainers/runc")


def test_only_what_needs_c_is_built_with_it() -> None:
    assert [it.name for it in MODULES if build_environment(it)["CGO_ENABLED"] == "1"] == ["runc"]
    assert all(build_environment(it)["GOTOOLCHAIN"] == "local" for it in MODULES)


def test_the_server_knows_its_version() -> None:
    assert f"version.gitVersion={KUBERNETES}" in KUBE.ldflags


def test_a_half_built_module_counts_as_unbuilt(somewhere: Places) -> None:
    final = folder_of(somewhere, RUNC)
    final.with_name(f"{final.name}.partial.1").mkdir(parents=True)
    assert RUNC in unbuilt(somewhere)


def test_a_missing_program_says_how_to_get_it() -> None:
    with pytest.raises(FixtureError, match=r"python -m tests\.kube build"):
        Programs(())["kubelet"]


# --- what is started, and with which words ---


@pytest.mark.parametrize("name", ORDER)
def test_every_component_has_a_command_line_without_the_developers_environment(site: Site, name: str) -> None:
    daemon = site.daemon(name)
    assert daemon.name == name
    assert daemon.argv[0].endswith(name)
    assert set(daemon.env) == {"PATH", "HOME"}


@pytest.mark.parametrize("name", ORDER)
def test_no_component_listens_on_another_interface(site: Site, name: str) -> None:
    text = " ".join((*site.daemon(name).argv, *site.files().values()))
    assert "0.0.0.0:" not in text
    assert "--bind-address=0.0.0.0" not in text


def test_the_api_server_listens_on_the_bridge(site: Site) -> None:
    words = site.daemon("kube-apiserver").argv
    assert {"--bind-address=10.244.0.1", "--advertise-address=10.244.0.1", "--secure-port=6443"} <= set(words)
    assert "--authorization-mode=Node,RBAC" in words


@pytest.mark.parametrize("name", ["kube-controller-manager", "kube-scheduler"])
def test_a_single_component_elects_no_leader(site: Site, name: str) -> None:
    assert "--leader-elect=false" in site.daemon(name).argv


def test_another_api_server_on_the_same_etcd_writes_elsewhere(site: Site) -> None:
    """By default they all write below /registry, the endpoints of the Service `kubernetes` too."""
    (prefix,) = [word for word in site.daemon("kube-apiserver").argv if word.startswith("--etcd-prefix=")]
    assert prefix == "--etcd-prefix=/rqk0"


def test_etcd_listens_on_loopback_only(site: Site) -> None:
    urls = [word.split("=", 1)[1] for word in site.daemon("etcd").argv if "-urls=" in word]
    assert urls
    assert all(url.startswith("http://127.0.0.1:") for url in urls)


def test_containerd_keeps_to_the_state_folder(site: Site) -> None:
    config = tomllib.loads(site.files()[site.places.config("containerd.toml")])
    state = str(site.places.state)
    assert all(config[key].startswith(state) for key in ("root", "state"))
    assert config["grpc"]["address"] == str(site.places.containerd_socket)
    runtime = config["plugins"]["io.containerd.cri.v1.runtime"]
    options = runtime["containerd"]["runtimes"]["runc"]["options"]
    assert options["BinaryName"].endswith("/runc")
    assert options["Root"].startswith(state)
    assert options["SystemdCgroup"] is False
    assert runtime["restrict_oom_score_adj"] is True


def test_pods_get_addresses_of_the_bridge(site: Site) -> None:
    network = json.loads(site.files()[site.places.config("cni") / "10-rqk.conflist"])
    (bridge,) = network["plugins"]
    assert (bridge["bridge"], bridge["ipMasq"]) == ("rqk0", False)
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.244.0.0/24", "gateway": "10.244.0.1"}]]


def test_the_bridge_keeps_its_hardware_address_while_pods_come_and_go() -> None:
    assert Addresses().hardware == "0a:58:0a:f4:00:01"


def test_the_kubelet_lets_nobody_in_unasked(site: Site) -> None:
    config = yaml.safe_load(site.files()[site.places.config("kubelet.yaml")])
    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["authorization"] == {"mode": "Webhook"}
    assert config["readOnlyPort"] == 0


def test_the_kubelet_never_collects_an_image_that_cannot_be_pulled_again(site: Site) -> None:
    config = yaml.safe_load(site.files()[site.places.config("kubelet.yaml")])
    assert config["imageGCHighThresholdPercent"] == 100


def test_pods_live_under_the_cgroup_that_is_ended_with_the_cluster(site: Site) -> None:
    config = yaml.safe_load(site.files()[site.places.config("kubelet.yaml")])
    assert config["cgroupRoot"] == f"/{cgroups.NAME}"


def test_pods_ask_the_clusters_name_server_only(site: Site) -> None:
    assert site.files()[site.places.config("resolv.conf")] == "nameserver 10.244.0.1\n"
    corefile = site.files()[site.places.config("Corefile")]
    assert corefile.count("bind 10.244.0.1") == corefile.count(":53 {") == 2
    assert "forward" not in corefile


def test_cluster_dns_may_look_and_nothing_else() -> None:
    role, _ = configs.dns_permissions()
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"list", "watch"}


# --- who is who ---


def test_each_identity_has_a_row_in_the_token_table() -> None:
    table = token_file({user.short: f"secret-{user.short}" for user in USERS})
    assert table.splitlines()[0] == "secret-admin,admin,admin,system:masters"
    assert "secret-node,system:node:n1,node,system:nodes" in table
    assert len(table.splitlines()) == len(USERS)


def test_a_kubeconfig_is_complete_in_itself() -> None:
    config = kubeconfig("https://10.244.0.1:6443", b"pem", ADMIN, "secret")
    assert config["clusters"][0]["cluster"] == {
        "server": "https://10.244.0.1:6443",
        "certificate-authority-data": "cGVt",
    }
    assert config["users"] == [{"name": "admin", "user": {"token": "secret"}}]


def test_a_secret_is_never_readable_by_others(tmp_path: Path) -> None:
    write_private(tmp_path / "secret", "one")
    write_private(tmp_path / "secret", "two")
    assert (tmp_path / "secret").read_text() == "two"
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


# --- whose cluster it is ---


def test_the_cache_is_the_users_and_the_state_can_be_moved(tmp_path: Path) -> None:
    assert places({"XDG_CACHE_HOME": "/c"}) == Places(Path("/c/rqk"), Path("/c/rqk/kube/state"))
    assert places({"KUBE_FIXTURE_STATE": str(tmp_path)}).state == tmp_path


def test_a_cluster_that_is_handed_over_comes_first(somewhere: Places) -> None:
    handed = handed_over(somewhere, {"KUBECONFIG": "/mine", "KUBE_FIXTURE_LOAD": "kind load {archive}"})
    assert handed is not None
    assert (handed.kubeconfig, handed.load_command) == (Path("/mine"), "kind load {archive}")


def test_our_own_kubeconfig_is_not_a_cluster_handed_over(somewhere: Places) -> None:
    assert handed_over(somewhere, {"KUBECONFIG": str(somewhere.kubeconfig)}) is None
    assert handed_over(somewhere, {}) is None


def test_without_any_cluster_there_is_none(somewhere: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert available(somewhere) is None


# --- what is left behind ---

MOUNTS = """\
27 1 254:0 / / rw - ext4 /dev/vda rw
50 27 0:50 / /s/state/containerd/rootfs rw - overlay overlay rw
51 50 0:51 / /s/state/containerd/rootfs/a\\040b rw - tmpfs tmpfs rw
52 27 0:52 / /s/state-of-another rw - tmpfs tmpfs rw
"""


def test_mounts_are_taken_away_from_the_top_and_only_ours() -> None:
    assert remnants.mounts_below(Path("/s/state"), MOUNTS) == [
        Path("/s/state/containerd/rootfs/a b"),
        Path("/s/state/containerd/rootfs"),
    ]


def test_a_shim_is_ours_if_it_reports_to_our_containerd(tmp_path: Path) -> None:
    for pid, address in (("10", "/ours.sock"), ("11", "/theirs.sock")):
        (tmp_path / pid).mkdir()
        words = ("/x/containerd-shim-runc-v2", "-namespace", "k8s.io", "-address", address)
        (tmp_path / pid / "cmdline").write_bytes("\0".join(words).encode() + b"\0")
    assert remnants.shims(Path("/ours.sock"), tmp_path) == [10]


def test_the_logs_are_what_remains(somewhere: Places) -> None:
    for path in (somewhere.logs, somewhere.etc, somewhere.state / "etcd"):
        path.mkdir(parents=True)
        (path / "file").touch()
    somewhere.kubeconfig.touch()
    remnants.remove_files(somewhere, keep_logs=True)
    assert [it.name for it in somewhere.state.iterdir()] == ["logs"]


# --- commands, waiting, the command line ---


def test_a_failed_command_carries_its_words(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="oh no") as caught:
        run("sh", "-c", "echo oh no >&2; exit 3")
    assert caught.value.code == 3
    with pytest.raises(CommandFailed, match="oh dear"):
        run_shown("it", ("sh", "-c", "echo oh dear; exit 1"), log=tmp_path / "log")
    with pytest.raises(CommandFailed):
        run(tmp_path / "nowhere")


def test_a_long_command_shows_that_it_lives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_shown("it", ("sh", "-c", "echo one; sleep 0.5"), log=tmp_path / "log", every=0.1)
    said = capsys.readouterr().err
    assert "it: 0." in said
    assert "it: done in" in said
    assert (tmp_path / "log").read_text() == "one\n"


@pytest.mark.parametrize(("seconds", "text"), [(0.25, "0.2s"), (59.9, "59.9s"), (75.4, "1m15s"), (3600, "60m00s")])
def test_times_are_read_by_people(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_waiting_ends_with_the_first_answer() -> None:
    answers = iter([None, "", "yes"])
    assert wait_for(lambda: next(answers), 5, "an answer", pause=0) == "yes"


def test_waiting_in_vain_says_what_for_and_why() -> None:
    def look() -> None:
        raise CommandFailed(("kubectl",), 1, "no such pod")

    with pytest.raises(NotReady, match=r"(?s)a pod: not within 0 s.*no such pod"):
        wait_for(look, 0, "a pod", pause=0)


def test_manifests_are_text_one_value_or_several() -> None:
    assert as_yaml("kind: A") == "kind: A"
    assert yaml.safe_load(as_yaml({"kind": "A"})) == {"kind": "A"}
    assert list(yaml.safe_load_all(as_yaml([{"kind": "A"}, {"kind": "B"}]))) == [{"kind": "A"}, {"kind": "B"}]


def test_a_condition_that_is_not_there_is_unknown() -> None:
    thing = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert condition(thing, "Ready") == "True"
    assert condition(thing, "Other") == condition({}, "Ready") == "Unknown"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args([command, "--help"])
    assert caught.value.code == 0
    assert COMMANDS[command][1].split(",")[0].split()[0] in capsys.readouterr().out


def test_what_is_wrong_is_said_without_a_traceback(
    somewhere: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(somewhere.cache))
    monkeypatch.setenv("KUBECONFIG", str(somewhere.cache / "nowhere"))
    assert main(["load-image", "localhost/x:y"]) == 1
    assert "error: " in capsys.readouterr().err


def test_a_missing_package_is_known_by_its_witness(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    witnesses = {name: str(tmp_path / name) for name in APT_PACKAGES}
    monkeypatch.setattr(toolchain, "APT_PACKAGES", witnesses)
    for name in APT_PACKAGES:
        (tmp_path / name).touch()
    assert toolchain.missing_packages() == []
    (tmp_path / "buildah").unlink()
    assert toolchain.missing_packages() == ["buildah"]
