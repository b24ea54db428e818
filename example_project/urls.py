from django.contrib import admin
from django.urls import include, path

from reconnect_channels.views import metrics

urlpatterns = [
    path("", include("example_project.board.urls")),
    path("reconnect/", include("reconnect_channels.urls")),
    path("metrics", metrics),  # before django-prometheus' own, which knows no OpenMetrics and no permission
    path("", include("django_prometheus.urls")),
    path("admin/", admin.site.urls),
]
