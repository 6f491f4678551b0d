# prune-dl on CPUs. From the root of the repository:
#
#     docker build -f docker/cpu.Dockerfile -t prune-dl .
#     docker run --rm --user "$(id -u):$(id -g)" -e HOME=/tmp \
#         -v "$PWD:/work" prune-dl demo
#
# torch's wheels for CPUs alone make the image some gigabytes smaller: give their index, which torch's
# installation page names, as --build-arg PIP_EXTRA_INDEX_URL=...
FROM python:3.11-slim

ARG PIP_EXTRA_INDEX_URL
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY prune prune
COPY export export
COPY evaluate evaluate
RUN pip install --no-cache-dir . && useradd --create-home --uid 1000 user
USER 1000
WORKDIR /work
ENTRYPOINT ["prune-dl"]
CMD ["--help"]
