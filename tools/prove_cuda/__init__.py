"""`python -m gradloom.tools.prove_cuda`: what the CUDA target promises, shown on the GPU of this machine."""
