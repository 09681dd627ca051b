# The grading image: compiler, QEMU, the sandbox and vmmlab with all extras. It grades other people's
# submissions and contains the reference solutions, so it is for instructors only.
#   docker build -f docker/grader.Dockerfile -t vmmlab-grader .
# docs/containers.md explains how to start it. For a base image that never changes, give its digest:
#   --build-arg BASE=debian:bookworm-slim@sha256:...
ARG BASE=debian:bookworm-slim
# The extras of pyproject.toml to install, separated by commas. Empty: all extras except "dev".
ARG EXTRAS=

# --- vmmlab and its Python packages, at the versions in constraints.txt ---
FROM ${BASE} AS python
ARG EXTRAS
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-pip python3-venv \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
ENV PIP_CONSTRAINT=/kit/docker/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /kit
COPY docker/constraints.txt docker/
COPY pyproject.toml README.md LICENSE ./
# Install the dependencies first, with an empty vmmlab: they change less often than vmmlab itself.
RUN all=$(python3 -c 'import tomllib; \
t = tomllib.load(open("pyproject.toml", "rb")); \
print(*sorted(t["project"]["optional-dependencies"].keys() - {"dev"}), sep=",")') \
 && mkdir -p grader/vmmlab \
 && touch grader/vmmlab/__init__.py \
 && python3 -m venv --without-pip /opt/vmmlab \
 && pip --python /opt/vmmlab/bin/python install ".[${EXTRAS:-$all}]"
COPY grader/vmmlab grader/vmmlab
RUN pip --python /opt/vmmlab/bin/python install --no-deps --force-reinstall . \
 && find /opt/vmmlab '(' -name '*.a' -o -name '*.js.map' ')' -delete \
 && find /opt/vmmlab/lib -type d -name tests -prune -exec rm -rf {} + \
 && find /opt/vmmlab -path '*/babel/locale-data/*.dat' \
      ! -name root.dat ! -name 'en*' ! -name 'ja*' -delete
# The course with its solutions, in the last place where vmmlab looks for it.
COPY course.yml /course/
COPY labs /course/labs
COPY reference /course/reference
COPY vmm-skeleton /course/vmm-skeleton
RUN data="$(/opt/vmmlab/bin/python -c 'import vmmlab; print(*vmmlab.__path__)')/data" \
 && mv /course "$data" \
 && /opt/vmmlab/bin/python -m compileall -q "$data/labs"

# --- the image ---
FROM ${BASE}
LABEL org.opencontainers.image.title="vmmlab-grader" \
      org.opencontainers.image.description="Grades the VMMs of a course in a sandbox" \
      org.opencontainers.image.licenses="BSD-3-Clause"
COPY docker/dpkg-excludes /etc/dpkg/dpkg.cfg.d/vmmlab
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      bubblewrap \
      gcc \
      ovmf \
      python3 \
      qemu-system-x86 \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY --from=python /opt/vmmlab /opt/vmmlab
# The grader writes only to /tmp, as any user: start it with --tmpfs /tmp.
ENV PATH=/opt/vmmlab/bin:$PATH \
    LANG=C.UTF-8 \
    HOME=/tmp
RUN useradd --no-create-home --home-dir /tmp --uid 10001 --shell /usr/sbin/nologin grader
# A number, so that the host can tell that it is not root.
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["vmmlab"]
CMD ["doctor"]
