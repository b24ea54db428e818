from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("example_project.board.urls")),
    path("reconnect/", include("reconnect_channels.urls")),
    path("admin/", admin.site.urls),
]
