"""Which process of a TPU pod this one is, by the names of Google's variables.

GKE sets them; on TPU VMs of Compute Engine the metadata server knows the same, and jax
asks it. A slice has a process on each host, and several slices follow each other.
Tested by stand-ins for both: no pod was there.
"""

from collections.abc import Mapping

PROCESSES, PROCESS, HOST = "TPU_PROCESSES", "TPU_PROCESS", "TPU_FIRST_HOST"
_SLICES = (
    "MEGASCALE_NUM_SLICES",
    "MEGASCALE_SLICE_ID",
    "MEGASCALE_COORDINATOR_ADDRESS",
)


def pod(variables: Mapping[str, str]) -> dict[str, str]:
    """Give the number of processes, that of this one, and the host of the first.

    Args:
        variables: of the environment.

    Returns:
        These three, by name; none where not all is said that they need.
    """
    hosts = variables.get("TPU_WORKER_HOSTNAMES", "").split(",")
    worker = variables.get("TPU_WORKER_ID", "")
    slices, own, first = (variables.get(name, "") for name in _SLICES)
    if not (slices or own or first):
        slices, own, first = "1", "0", hosts[0]
    numbers = (worker, slices, own)
    if not (hosts[0] and first and all(number.isdigit() for number in numbers)):
        return {}
    return {
        PROCESSES: str(len(hosts) * int(slices)),
        PROCESS: str(len(hosts) * int(own) + int(worker)),
        HOST: first.split(":")[0],
    }


def of_metadata(variables: Mapping[str, str]) -> dict[str, str]:
    """Give what the metadata of a TPU VM say, by GKE's names; nothing elsewhere.

    Args:
        variables: of the environment; where GKE's are there, nobody is asked.
    """
    if "TPU_WORKER_ID" in variables:
        return {}
    from jax._src.clusters import cloud_tpu_cluster as cloud

    here = cloud.GceTpuCluster
    if not here.is_env_present():
        return {}
    found = {
        "TPU_WORKER_ID": str(here._get_process_id_in_slice()),
        "TPU_WORKER_HOSTNAMES": ",".join(here._get_worker_list_in_slice()),
    }
    slices = {name: cloud.get_tpu_env_value(name) for name in _SLICES}
    return found | {name: value for name, value in slices.items() if value}
