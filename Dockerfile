# The image of every service of docker-compose.yml that is ours. It brings torch for CPUs; for an NVIDIA GPU build it with
# --build-arg TORCH_INDEX=https://pypi.org/simple, whose torch brings CUDA with it (about 4 GB more).
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm@sha256:d29f48a31a8b408ed19272ca1e7b10ebae13b240a27e862d3d4217c528e2e0c3
FROM ${PYTHON_IMAGE}
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /app

# Dependencies first: they are installed again only when they change.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
               print(*p['dependencies'], *p['optional-dependencies']['server'], sep='\n')" > /tmp/requirements.txt \
    && pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" --constraint constraints.txt -r /tmp/requirements.txt
COPY . .
# Compiled now: whoever runs it writes nothing here.
RUN pip install --no-cache-dir --no-deps --editable . && python -m compileall -q -x '[.]venv' .

# Any user but root may run it (compose takes yours, so that results belong to you). What is written lies below HOME, /tmp
# or in runs/; the rest may be read-only.
RUN useradd --uid 1000 --home-dir /var/lib/atlas --create-home atlas && mkdir -p runs data models && chown atlas runs \
    && chmod 1777 /var/lib/atlas
ENV HOME=/var/lib/atlas USER=atlas PYTHONDONTWRITEBYTECODE=1 \
    PREFECT_SERVER_UI_STATIC_DIRECTORY=/var/lib/atlas/prefect-ui
# There is no git in the image, and no checkout: the commit that `runs` and study.yaml name comes with the build.
ARG GIT_SHA=
ENV CONCEPT_ATLAS_GIT_SHA=$GIT_SHA
LABEL org.opencontainers.image.revision=$GIT_SHA
USER atlas
ENTRYPOINT []
CMD ["concepts", "--help"]
