"""An H100, as its compiler must know it: NVIDIA's figures in XLA's own format.

Of one with 80 GB (SXM5): NVIDIA, "H100 Tensor Core GPU Architecture", and the table of
compute capability 9.0 in the "CUDA C++ Programming Guide".
"""

TARGET = """
gpu_device_info {
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  l2_cache_size: 52428800
  memory_bandwidth: 3350000000000
  device_memory_size: 80000000000
}
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
runtime_version { major: 12 minor: 8 }
dnn_version_info { major: 9 minor: 10 }
"""
