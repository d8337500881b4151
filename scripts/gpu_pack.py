"""Builds for scripts/gpu_check, and the folder that it runs from on a machine with only a driver."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

PROGRAMS = ["kernels_tests", "models_tests", "spqr-bench", "spqr-quantize", "spqr-run"]
SCRIPTS = ["gpu_check", "gpu_pack.py", "gpu_steps.py"]
FIXTURES = ["golden"]  # of the tests that run there
OF_SYSTEM = re.compile(r"^(linux-vdso|ld-linux|lib(c|m|dl|rt|pthread|util|resolv|anl|mvec)\.so)")
MOST_BYTES = 64 << 20
OPENBLAS, REFERENCE_BLAS = "libopenblas.so.0", "libblas.so.3"


def commit(root):
    """Of the checkout, or what the folder was packed from."""
    packed = root / "pack.json"
    if packed.is_file():
        return json.loads(packed.read_text())["commit"]
    try:
        found = subprocess.run(["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, check=False)
    except OSError:
        return None
    return found.stdout.strip() or None


def build(run, root, folder, architectures):
    """With run(command), into `folder`."""
    os.chdir(root)
    run(["cmake", "--preset", "cuda", "-B", folder, f"-DSPQR_CUDA_ARCHITECTURES={architectures}"])
    run(["cmake", "--build", folder, "--parallel", os.cpu_count(), "--target", *PROGRAMS])


def libraries(program):
    """Shared libraries that it loads, by the name it asks for, but what every system has."""
    printed = subprocess.run(["ldd", str(program)], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = {}
    for line in printed.splitlines():
        match = re.match(r"\s*(\S+)(?: => (\S+))?", line)
        if not match or OF_SYSTEM.match(pathlib.Path(match[1]).name):
            continue
        if match[2] is None or match[2] == "not":
            raise OSError(f"{program} needs {match[1]}, which is not found")
        found[match[1]] = pathlib.Path(match[2]).resolve()
    return found


def strip(path):
    subprocess.run(["strip", "--strip-unneeded", str(path)], check=True)


def use_small_blas(pack, openblas):
    """The reference BLAS where OpenBLAS is asked for, with the two functions that only OpenBLAS has: it is a fiftieth as large, and
    nothing that is run there multiplies with it."""
    reference = openblas.parent.parent / "blas" / REFERENCE_BLAS
    if not reference.is_file():
        return
    shutil.copyfile(reference, pack / "lib" / REFERENCE_BLAS)
    subprocess.run(["cc", "-shared", "-o", str(pack / "lib" / OPENBLAS), f"-Wl,-soname,{OPENBLAS}", "-x", "c", "-", "-x", "none",
                    "-Wl,--no-as-needed", str(pack / "lib" / REFERENCE_BLAS)], check=True, text=True,
                   input="int openblas_get_num_threads(void) { return 1; }\nvoid openblas_set_num_threads(int count) { (void)count; }\n")
    (pack / "lib" / OPENBLAS).chmod(0o755)


def fill(root, pack, folder, architectures):
    for name in ("bin", "lib", "fixtures"):
        (pack / name).mkdir(parents=True)
    needed = {}
    for name in PROGRAMS:
        needed.update(libraries(folder / "bin" / name))
        shutil.copy2(folder / "bin" / name, pack / "bin" / name)
        strip(pack / "bin" / name)
    for name, path in needed.items():
        shutil.copyfile(path, pack / "lib" / name)
        (pack / "lib" / name).chmod(0o755)
        strip(pack / "lib" / name)
    if OPENBLAS in needed:
        use_small_blas(pack, needed[OPENBLAS])
    for name in FIXTURES:
        shutil.copytree(root / "tests/fixtures" / name, pack / "fixtures" / name)
    for name in SCRIPTS:
        shutil.copy2(root / "scripts" / name, pack / name)
    (pack / "pack.json").write_text(json.dumps({"commit": commit(root), "architectures": architectures}) + "\n")


def pack(root, target, folder, architectures):
    """Exit status. Builds, unless `folder` is a build."""
    if target.exists():
        print(f"gpu_check: error: {target} is there already; remove it first", file=sys.stderr)
        return 2
    if folder is None:
        folder = root / "build/gpu_pack"
        try:
            build(lambda command: subprocess.run([str(word) for word in command], check=True), root, folder, architectures)
        except subprocess.CalledProcessError as error:
            print(f"gpu_check: error: {error.cmd[0]} failed", file=sys.stderr)
            return 1
    try:
        fill(root, target, folder, architectures)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"gpu_check: error: {error}", file=sys.stderr)
        return 1
    files = sorted(((path.stat().st_size, path) for path in target.rglob("*") if path.is_file()), reverse=True)
    total = sum(size for size, _ in files)
    print(f"gpu_check: {target} has {total / 2**20:.1f} MiB")
    if total >= MOST_BYTES:
        print(f"gpu_check: error: that is not less than {MOST_BYTES >> 20} MiB; the largest files:", file=sys.stderr)
        for size, path in files[:8]:
            print(f"  {size / 2**20:6.1f} MiB  {path.relative_to(target)}", file=sys.stderr)
        return 1
    return 0
