# The image of every service of docker-compose.yml that is ours. It brings torch for CPUs; for an NVIDIA GPU build it with
# --build-arg TORCH_INDEX=https://pypi.org/simple, whose torch brings CUDA with it (about 6 GB more).
FROM python:3.11.11-slim-bookworm
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /app

# Dependencies first: they are installed again only when they change.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
               print(*p['dependencies'], *p['optional-dependencies']['server'], sep='\n')" > /tmp/requirements.txt \
    && pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" --constraint constraints.txt -r /tmp/requirements.txt
COPY . .
RUN pip install --no-cache-dir --no-deps --editable .

# Any user may run it (compose takes yours, so that results belong to you): what is written lies below HOME or in runs/.
RUN useradd --uid 1000 --home-dir /var/lib/atlas --create-home atlas && mkdir -p runs data && chown atlas runs \
    && chmod 1777 /var/lib/atlas
ENV HOME=/var/lib/atlas USER=atlas \
    PREFECT_SERVER_UI_STATIC_DIRECTORY=/var/lib/atlas/prefect-ui
# There is no git in the image, and no checkout: the commit that `runs` and study.yaml name comes with the build.
ARG GIT_SHA=
ENV CONCEPT_ATLAS_GIT_SHA=$GIT_SHA
USER atlas
ENTRYPOINT []
CMD ["concepts", "--help"]
