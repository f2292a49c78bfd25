#!/bin/sh
# Run a command of lm_jax; on first use, make the environment it runs in.
#
#   ./launch.sh                  list the commands
#   ./launch.sh train experiments/gpt_shakespeare.py
#   ./launch.sh test             the whole test suite
#
# LM_JAX_PYTHON  use this Python (3.11 to 3.13), not the newest that is found
# LM_JAX_EXTRAS  install these extras, not those that suit the machine: "" or
#                "cuda,wandb". They only ever add up: to be rid of one, remove
#                .venv.

# The root is where this file really lies, however it was called.
case $0 in */*) self=$0 ;; *) self=./$0 ;; esac
while [ -L "$self" ]; do
  link=$(readlink "$self")
  case $link in /*) self=$link ;; *) self=${self%/*}/$link ;; esac
done
root=$(CDPATH='' cd -- "${self%/*}/" && pwd -P) || exit 1

venv=$root/.venv
state=$venv/launch.state            # what was installed, written at the end
unfinished=$venv/launch.unfinished  # there while something is being installed
log=$venv/launch.log                # also the sign that .venv is ours

say() { printf 'launch.sh: %s\n' "$*" >&2; }

# ---- what is installed, what is wanted: without starting any process that
# ---- takes long, because this runs at every launch

read_state() {
  old_root='' old_python='' old_extras=''
  [ -r "$state" ] || return
  { read -r _ old_root; read -r _ old_python; read -r _ old_extras; } <"$state"
}

machine_extras() {
  set -- /dev/nvidia[0-9]*
  case ,$old_extras, in
    *,cuda,*) ;;  # nvidia-smi takes a second: not when it makes no difference
    *) if [ -e "$1" ] || nvidia-smi -L >/dev/null 2>&1; then echo cuda; fi ;;
  esac
  [ -e /dev/accel0 ] && { echo tpu; return; }
  [ -e /dev/vfio ] || return
  # Google's network and disk cards (class 0x02, 0x01) have its vendor too.
  for device in /sys/bus/pci/devices/*; do
    read -r vendor <"$device/vendor" && [ "$vendor" = 0x1ae0 ] || continue
    read -r class <"$device/class"
    case $class in 0x01* | 0x02*) ;; *) echo tpu; return ;; esac
  done
}

# Extras add up, so that a .venv shared by machines with and without a GPU
# is not installed anew at each change of machine.
wanted_extras() {
  extras=$old_extras
  for extra in $(printf '%s' "${LM_JAX_EXTRAS-$(machine_extras)}" | tr ',' ' ')
  do
    case ,$extras, in
      *",$extra,"*) ;;
      *) extras=${extras:+$extras,}$extra ;;
    esac
  done
}

describe() {  # python
  printf 'root %s\npython %s\nextras %s\n' "$root" "$1" "$extras"
  cat "$root/requirements.txt" "$root/pyproject.toml"
}

reusable() {  # the environment stands, and is of the wanted Python
  [ -x "$venv/bin/python" ] && [ ! -e "$unfinished" ] && [ -e "$state" ] &&
    [ "$old_root" = "$root" ] && {
    [ -z "${LM_JAX_PYTHON:-}" ] ||
      [ "$(command -v "$LM_JAX_PYTHON")" = "$old_python" ]
  }
}

ready() {
  read_state
  wanted_extras
  reusable && [ "$(describe "$old_python")" = "$(cat "$state")" ]
}

# ---- the choice of a Python

# Prints "3.13.0 13000 /real/path/of/python", the second a number to compare
# by, or what is wrong with this Python.
probe='
import sys, sysconfig
number = sys.version_info[:3]
version = "%d.%d.%d" % number
if not (3, 11) <= number[:2] <= (3, 13):
    fault = "is Python %s" % version
elif sysconfig.get_config_var("Py_GIL_DISABLED"):
    fault = "is a free-threaded Python, which jax and orbax do not cover"
elif sys.implementation.name != "cpython":
    fault = "is not CPython"
else:
    fault = None
    try:
        import ensurepip, venv
    except ImportError:
        fault = "has no venv or ensurepip (Debian: apt install python%d.%d-venv)"
        fault = fault % number[:2]
print(fault or "%s %d %s" % (version, number[1] * 1000 + number[2], sys.executable))
sys.exit(1 if fault else 0)
'

try_python() {  # path: sets version, order and python, or fault
  # Some pyenv shims are there and only print an error: nothing counts but
  # what runs. The real path is kept, because a shim changes its mind.
  answer=$("$1" -c "$probe" 2>/dev/null </dev/null) || {
    fault=${answer:-does not run}
    return 1
  }
  read -r version order python <<END
$answer
END
  case $order in '' | *[!0-9]*) fault='is not a Python'; return 1 ;; esac
}

choose_python() {  # sets chosen and chosen_version
  if [ -n "${LM_JAX_PYTHON:-}" ]; then
    try_python "$LM_JAX_PYTHON" || {
      say "LM_JAX_PYTHON=$LM_JAX_PYTHON $fault; it must be Python 3.11 to 3.13"
      return 2
    }
    chosen=$(command -v "$LM_JAX_PYTHON") chosen_version=$version
    return
  fi
  chosen='' best=0 faults=''
  for candidate in python3.13 python3.12 python3.11 python3 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[1-3]*/bin/python; do
    candidate=$(command -v "$candidate") || continue
    if ! try_python "$candidate"; then
      faults="$faults
  $candidate $fault"
    elif [ "$order" -gt "$best" ]; then
      chosen=$python chosen_version=$version best=$order
    fi
  done
  [ -n "$chosen" ] && return
  say "found no working Python 3.11, 3.12 or 3.13. Looked for
  python3.13, python3.12, python3.11 and python3 on PATH
  ${PYENV_ROOT:-$HOME/.pyenv}/versions/3.1[1-3]*/bin/python${faults:+
Not usable:$faults}
Get one (pyenv install 3.13, or from apt, brew, conda or python.org), or name
one that you have: LM_JAX_PYTHON=/path/to/python ./launch.sh"
  return 2
}

# ---- the installation

check_extras() {
  known=$(sed -n '/^\[project.optional-dependencies\]/,/^\[tool/s/^\([a-z0-9]*\) *=.*/\1/p' \
    "$root/pyproject.toml" | tr '\n' ' ')
  for extra in $(printf '%s' "$extras" | tr ',' ' '); do
    case " $known" in *" $extra "*) continue ;; esac
    say "LM_JAX_EXTRAS names '$extra'; the extras are: $known"
    return 2
  done
}

make_venv() {
  say "making .venv with Python $chosen_version ($chosen)"
  case $chosen_version in 3.11.*) say "Python 3.12 and 3.13 get a newer jax, up to 5 times faster in bf16 on
  some CPUs. To change: LM_JAX_PYTHON=/path/to/python3.13 ./launch.sh" ;; esac
  # The log stays: while it is there, the rest is known to be ours.
  mkdir -p "$venv" && : >"$log" && : >"$unfinished" &&
    find "$venv/" -mindepth 1 -maxdepth 1 ! -name 'launch.log' \
      ! -name 'launch.unfinished' -exec rm -rf {} + &&
    "$chosen" -m venv "$venv" >>"$log" 2>&1
}

show_progress() {  # pip's output goes to the log; a terminal sees one live line
  while read -r line; do
    printf '%s\n' "$line" >>"$log"
    case $line in
      Collecting* | Downloading* | Building* | Installing*)
        [ -t 2 ] && printf '\r\033[K  %.76s' "${line%% (from*}" >&2 ;;
    esac
  done
  [ -t 2 ] && printf '\r\033[K' >&2
}

pip_install() {
  say "installing jax and the rest into .venv, extras: ${extras:-none (CPU)};
  this takes a minute or more. To change the extras: LM_JAX_EXTRAS"
  [ -t 2 ] || say "what it does meanwhile stands in $log"
  : >"$unfinished"
  {
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input \
      --progress-bar off -r "$root/requirements.txt" \
      -e "$root${extras:+[$extras]}" </dev/null &&
      describe "$chosen" >"$state.new" && mv -f "$state.new" "$state" &&
      rm -f "$unfinished"
  } 2>&1 | show_progress
  [ ! -e "$unfinished" ]
}

install() {  # with the file to lock open as descriptor 9
  # The kernel drops a lock with its last holder, so a killed launch leaves
  # none behind. It is taken through Python because flock(1) is not everywhere.
  lock='import fcntl, sys; fcntl.flock(9, fcntl.LOCK_EX | int(sys.argv[1]))'
  locker=$venv/bin/python
  reusable || { choose_python && locker=$chosen; } || return
  "$locker" -c "$lock" 4 2>/dev/null || {
    say "another launch is installing; waiting for it"
    "$locker" -c "$lock" 0
  }
  ready && return
  check_extras || return
  if [ -d "$venv/bin" ] && [ ! -e "$log" ]; then
    say "$venv was not made by launch.sh: move it away, or use
  it as it is: .venv/bin/python -m lm_jax"
    return 2
  fi
  if [ -L "$venv" ] && [ -n "$old_root" ] && [ "$old_root" != "$root" ]; then
    say "$venv is a link to the environment of $old_root:
  remove the link to have one here, or use it as it is:
  .venv/bin/python -m lm_jax"
    return 2
  fi
  if reusable; then
    chosen=$old_python
    # pip fails, nearly always for want of a network, before it changes
    # anything: an environment that stood still stands.
    pip_install || { rm -f "$unfinished"; failed "The environment before it:
  $venv/bin/python -m lm_jax"; }
  else
    { make_venv && pip_install; } || failed
  fi
}

failed() {
  say "the installation failed; its log is $log
$(grep -i '^[a-z]*error' "$log" 2>/dev/null | tail -n 3)${1:+
$1}"
  return 1
}

ready || install 9>>"$root/requirements.txt" || exit
[ $# -gt 0 ] || set -- --help
# -P: a random.py in the user's directory is not Python's own random.
export LM_JAX_CALLED="$0"  # what hints begin with
exec "$venv/bin/python" -P -m lm_jax "$@"
