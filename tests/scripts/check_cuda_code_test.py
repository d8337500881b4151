#!/usr/bin/env python3
"""scripts/check_cuda_code: what it makes of what nvcc says, with a program in nvcc's place.

    check_cuda_code_test.py SCRIPT
"""
import pathlib
import subprocess
import sys
import tempfile

SCRIPT = sys.argv[1]
NAME = "_ZN4spqr4cuda12_GLOBAL__N_111gelu_kernelILi4EEEvPfPKfl"


def check(condition, what):
    if not condition:
        sys.exit(f"check_cuda_code_test: {what}")


def ptxas(stack=0, stores=0, loads=0, registers=42):
    return f"""\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '{NAME}' for 'sm_80'
ptxas info    : Function properties for {NAME}
    {stack} bytes stack frame, {stores} bytes spill stores, {loads} bytes spill loads
ptxas info    : Used {registers} registers, used 1 barriers, 376 bytes cmem[0]
"""


def run(says, status=0):
    """Exit status, output and errors where nvcc says this."""
    with tempfile.TemporaryDirectory() as folder:
        nvcc = pathlib.Path(folder) / "nvcc"
        nvcc.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{says}END\nexit {status}\n")
        nvcc.chmod(0o755)
        done = subprocess.run([SCRIPT, "--nvcc", nvcc, "--nvdisasm", "", "--files", "gelu", "--architectures", "80,90"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


RESOURCES = f"""
Fatbin elf code:
================
arch = sm_80

Resource usage:
 Common:
  GLOBAL:0
 Function {NAME}:
  REG:42 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:376 TEXTURE:0 SURFACE:0 SAMPLER:0

Fatbin elf code:
================
arch = sm_120

Resource usage:
 Common:
  GLOBAL:0
 Function {NAME}:
  REG:40 STACK:STACKED SHARED:1040 LOCAL:0 CONSTANT[0]:376 TEXTURE:0 SURFACE:0 SAMPLER:0
"""


def read_build(stack):
    with tempfile.TemporaryDirectory() as folder:
        dump = pathlib.Path(folder) / "cuobjdump"
        dump.write_text(f"#!/bin/sh\ncat <<'END'\n{RESOURCES.replace('STACKED', str(stack))}END\n")
        dump.chmod(0o755)
        (pathlib.Path(folder) / "objects").mkdir()
        (pathlib.Path(folder) / "objects/gelu.cu.o").touch()
        command = [SCRIPT, "--build", folder, "--cuobjdump", dump, "--files"]
        good = subprocess.run([*command, "gelu"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        none = subprocess.run([*command, "embed"], stderr=subprocess.PIPE, text=True, check=False)
    check(none.returncode == 2 and "0 objects of embed.cu" in none.stderr, none.stderr)
    return good.returncode, good.stdout, good.stderr


def main():
    status, out, err = read_build(0)
    check(status == 0 and "| gelu.cu | gelu_kernel<4> |  | 42 |  |  |  |  | 40, 16 B shared |" in out, out + err)
    status, out, err = read_build(8)
    check(status == 1 and "gelu_kernel<4> on sm_120: 16 B shared, 8 B local" in err, out + err)
    status, out, err = run(ptxas())
    check(status == 0, f"exit status {status}: {err}")
    check("| gelu.cu | gelu_kernel<4> | 42 | 42 |" in out, out)
    for what in (ptxas(stores=8), ptxas(loads=8)):
        status, out, err = run(what)
        check(status == 1 and "gelu_kernel<4> on sm_90: 8 B spilled" in err and "| 42, 8 B spilled |" in out, out + err)
    status, out, err = run(ptxas(stack=24))
    check(status == 1 and "24 B local" in err, out + err)
    status, out, err = run("gelu.cu(1): error: what is this\n", status=2)
    check(status == 2 and "what is this" in err, out + err)
    refused = subprocess.run([SCRIPT, "--nvcc", "true", "--files", "none"], stderr=subprocess.PIPE, text=True, check=False)
    check(refused.returncode == 2 and "there is no file" in refused.stderr, refused.stderr)


if __name__ == "__main__":
    main()
