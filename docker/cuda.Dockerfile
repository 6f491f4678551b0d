# prune-dl on NVIDIA GPUs. From the root of the repository, with NVIDIA's container toolkit:
#
#     docker build -f docker/cuda.Dockerfile -t prune-dl:cuda .
#     docker run --rm --gpus all --user "$(id -u):$(id -g)" -e HOME=/tmp \
#         -v "$PWD:/work" prune-dl:cuda doctor
#
# CUDA comes with torch's wheels and, what these leave out, with ONNX Runtime's extras; the driver is
# the host's.
FROM python:3.11-slim

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY prune prune
COPY export export
COPY evaluate evaluate
RUN pip install --no-cache-dir . "onnxruntime-gpu[cuda,cudnn]>=1.27" \
    && useradd --create-home --uid 1000 user

ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
WORKDIR /work
ENTRYPOINT ["prune-dl"]
CMD ["--help"]
