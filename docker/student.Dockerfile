# The student image: compiler, QEMU, gdb and vmmlab. It contains no solutions.
#   docker build -f docker/student.Dockerfile -t vmmlab-student .
# See docs/containers.md. For a base image that never changes, give its digest:
#   --build-arg BASE=debian:bookworm-slim@sha256:...
ARG BASE=debian:bookworm-slim

# --- vmmlab and its Python packages, at the versions in constraints.txt ---
FROM ${BASE} AS python
RUN apt-get update \
 && apt-get install -y --no-install-recommends binutils python3 python3-pip python3-venv \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
ENV PIP_CONSTRAINT=/kit/docker/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /kit
COPY docker/constraints.txt docker/
COPY pyproject.toml README.md LICENSE ./
# Install the dependencies first, with an empty vmmlab: they change less often than vmmlab itself.
RUN mkdir -p grader/vmmlab \
 && touch grader/vmmlab/__init__.py \
 && python3 -m venv --without-pip /opt/vmmlab \
 && pip --python /opt/vmmlab/bin/python install '.[explore]'
COPY grader/vmmlab grader/vmmlab
RUN pip --python /opt/vmmlab/bin/python install --no-deps --force-reinstall . \
 && find /opt/vmmlab -name '*.a' -delete \
 && find /opt/vmmlab -name '*.so*' -type f -exec strip --strip-unneeded {} + \
 && find /opt/vmmlab -path '*/babel/locale-data/*.dat' \
      ! -name root.dat ! -name 'en*' ! -name 'ja*' -delete
# The course, in the last place where vmmlab looks for it. It has no hidden checks, which are for the
# instructor, no contract.yml, which names them, and no worksheets, which contain their solutions
# (nbgrader makes the students' version).
COPY course.yml /course/
COPY labs /course/labs
COPY vmm-skeleton /course/vmm-skeleton
RUN rm -rf /course/labs/*/hidden /course/labs/*/worksheet.* /course/labs/*/contract.yml \
 && sed -i -E '/^ +(hidden:|lab[0-9]+\.hidden\..*)$/d' /course/course.yml \
 && data="$(/opt/vmmlab/bin/python -c 'import vmmlab; print(*vmmlab.__path__)')/data" \
 && mv /course "$data" \
 && /opt/vmmlab/bin/python -m compileall -q "$data/labs"

# --- the image ---
FROM ${BASE}
LABEL org.opencontainers.image.title="vmmlab-student" \
      org.opencontainers.image.description="The tools for writing a VMM that wakes its processors" \
      org.opencontainers.image.licenses="BSD-3-Clause"
COPY docker/dpkg-excludes /etc/dpkg/dpkg.cfg.d/vmmlab
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      ca-certificates \
      gcc \
      gdb \
      git \
      grub-common \
      grub-pc-bin \
      make \
      ovmf \
      python3 \
      qemu-system-x86 \
      xorriso \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY --from=python /opt/vmmlab /opt/vmmlab
# In this container everything is the student's own work; no state folder outlives it.
ENV PATH=/opt/vmmlab/bin:$PATH \
    LANG=C.UTF-8 \
    VMMLAB_OWN=/
RUN useradd --create-home --uid 1000 --shell /bin/bash student
# A number, so that the host can tell that it is not root.
USER 1000:1000
WORKDIR /home/student
CMD ["bash"]
